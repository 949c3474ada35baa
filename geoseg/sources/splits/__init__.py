"""What of labelled imagery is trained on and what is kept to judge the model."""

from geoseg.sources.splits.files import read_split, write_split
from geoseg.sources.splits.records import SheetSplit, Split, Way
from geoseg.sources.splits.splitting import make_split

__all__ = ["SheetSplit", "Split", "Way", "make_split", "read_split", "write_split"]
