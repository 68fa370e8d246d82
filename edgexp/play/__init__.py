"""Playing: one episode (`episode`), whoever acts in it (`local`, `scripted`, `mistakes`), many at once (`rollout`, `fleet`), everything
opened from settings (`session`), and what is kept (`record`, `collecting`). Knows no SQL, no llama.cpp and no rendering rules.
"""
