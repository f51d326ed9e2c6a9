"""The one door for tables: after it nobody asks what kind of source it was."""

from onesigma.inputs.sources.door import open_source
from onesigma.inputs.sources.source import Block, FileState, Shard, Source
from onesigma.inputs.sources.table import load_table

__all__ = ["Block", "FileState", "Shard", "Source", "load_table", "open_source"]
