"""What a reader takes away: tables, maps, figures and pages."""
