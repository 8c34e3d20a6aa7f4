"""What every room may use: errors, words in two languages, arguments, printing, tasks, results on disk.

No econometrics, no panel, no weights: a module that knows any of these lives above.
"""
