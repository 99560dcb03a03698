"""Inside the child pipeline's jobs: build, test, push, deploy."""
