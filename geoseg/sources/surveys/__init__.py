"""A look at all of a source before anything trains: what is in it, and what is wrong with it."""

from geoseg.sources.surveys.checking import check, check_data
from geoseg.sources.surveys.data_checks import DataCheck
from geoseg.sources.surveys.records import SheetSurvey, Survey
from geoseg.sources.surveys.surveying import survey

__all__ = ["DataCheck", "SheetSurvey", "Survey", "check", "check_data", "survey"]
