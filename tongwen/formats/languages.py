"""The languages of documents."""

LANGUAGES = ("other", "en", "zh-Hans", "zh-Hant", "code")
"""By their code in a token shard. Append only: files on disk hold the positions."""
