"""The report: figures of results folders, and the page, the table or the JSON made of them. Knows no models and plays nothing.

`figures` counts and compares, `plots` draws, `viewer` packs the episodes, `page` and `markdown` are what people see.
"""
