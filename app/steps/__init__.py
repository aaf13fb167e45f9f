"""The steps of the pipeline that join a stage with the store. `app/pipeline.py` says in which order."""
