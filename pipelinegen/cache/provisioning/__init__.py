"""Setting caches up on Attic servers, and telling how they are: what `pipelinegen cache` does."""
