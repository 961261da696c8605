"""`python -m scan2gene.cli`."""

from scan2gene.cli import main

if __name__ == "__main__":
    main()
