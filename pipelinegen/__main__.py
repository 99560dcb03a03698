"""`python -m pipelinegen`."""

from pipelinegen.cli import main

if __name__ == "__main__":
    main()
