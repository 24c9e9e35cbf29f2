"""The errors that finevq raises for what a user can put right.

    FineVQError                one line: what, where, what to do; the command exits with 2
    ├── ConfigError            pipeline.toml or --set
    ├── DatasetError           videos.csv, questions.jsonl, splits/
    ├── StoreError             the feature store
    │   └── IdentityMismatch   features made with other settings or weights than those asked for
    ├── StoreUnavailable       a store cannot be reached; its content may be intact
    ├── VideoError             one video cannot be decoded; a job records it and goes on
    └── CheckpointError        a checkpoint or a base model

Anything else that escapes is a bug and keeps its traceback.
"""


class FineVQError(Exception):
    """The user can put this right; the message is one line that says how."""


class ConfigError(FineVQError):
    """A setting is unknown, missing, of the wrong type or out of range."""


class DatasetError(FineVQError):
    """The dataset's files are missing, contradict each other or hold impossible values."""


class StoreError(FineVQError):
    """The feature store is missing, incomplete or damaged."""


class StoreUnavailable(FineVQError):
    """A store cannot be reached: its server does not answer, or refuses access.

    It is not a StoreError, so that a search for damage does not take a lost connection for damage.
    """


class IdentityMismatch(StoreError):
    """The store's features were made with other settings or weights than those asked for."""


class VideoError(FineVQError):
    """A video cannot be decoded; the message is the reason that the job records.

    Attributes:
        decoding_s: seconds spent on the video until it failed; 0 if they were not measured.
    """

    decoding_s: float = 0.0


class CheckpointError(FineVQError):
    """A checkpoint or base model is missing, incomplete or does not match."""
