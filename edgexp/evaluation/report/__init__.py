"""The report: figures of results folders, and the page, the Markdown or the JSON made of them. Knows no models and plays nothing.

`figures` counts and compares, `series` finds what makes a curve, `training_curves` reads a training's log. `wording` puts figures into
words and Markdown, `plots` draws, `page` is the HTML.
"""
