"""The errors that finevq raises for things a user can mend.

    FineVQError                one line: what, where, what to do; the command exits with 2
    ├── ConfigError            pipeline.toml or --set
    ├── DatasetError           videos.csv, questions.jsonl, splits/
    ├── StoreError             the feature store
    │   └── IdentityMismatch   features made with other settings or weights than those asked for
    ├── StoreUnavailable       the place of a store cannot be reached; its content may be sound
    ├── VideoError             one video cannot be decoded; a job records it and goes on
    └── CheckpointError        a checkpoint or a base model

Anything else that escapes is a bug and keeps its traceback.
"""


class FineVQError(Exception):
    """Something is wrong that the user can mend; the message is one line that says how."""


class ConfigError(FineVQError):
    """A setting is unknown, missing, of the wrong type or out of range."""


class DatasetError(FineVQError):
    """The dataset's files are missing, contradict each other or hold impossible values."""


class StoreError(FineVQError):
    """The feature store is missing, incomplete or damaged."""


class StoreUnavailable(FineVQError):
    """The place of a store does not answer or lets no one in; its content may well be sound.

    It is no StoreError: what looks for damage must not take a lost connection for some.
    """


class IdentityMismatch(StoreError):
    """The store's features were made with other settings or weights than those asked for."""


class VideoError(FineVQError):
    """A video cannot be decoded; the message is the reason that the job records.

    Attributes:
        decoding_s: seconds that finding this out took, as far as they are known.
    """

    decoding_s: float = 0.0


class CheckpointError(FineVQError):
    """A checkpoint or base model is missing, incomplete or does not fit."""
