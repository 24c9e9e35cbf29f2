"""`python -m finevq` is the `finevq` command."""

from .cli.main import main

raise SystemExit(main())
