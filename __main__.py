"""`python -m finevq` is the `finevq` command."""

from .cli import main

raise SystemExit(main())
