"""selfiegate lets one clear face per account through."""

__version__ = "0.1.0"
