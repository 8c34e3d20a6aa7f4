"""The stages of a run, one module for each: they take a job and write what their section of the study asks for.

No stage opens a file of the user: :mod:`spatial_zb.pipeline.prepare` has read them all.
"""
