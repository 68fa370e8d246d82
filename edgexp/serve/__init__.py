"""An OpenAI-compatible server with memory: `edgexp serve`. Conversations become sessions, which recall past ones and are kept.

Importing this loads neither starlette nor a model.
"""
