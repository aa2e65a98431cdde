"""The sample web: a small invented bilingual web with known truth, written as WARC files."""

from tongwen.sample.web import write_sample_web

__all__ = ["write_sample_web"]
