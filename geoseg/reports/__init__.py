"""Reports of one HTML file each, which load nothing and run nothing: pages, tables, charts and pictures."""

from geoseg.reports.accuracy import (
    calibration_chart,
    calibration_table,
    class_table,
    confusion_table,
    figure_rows,
    headline,
    share_table,
)
from geoseg.reports.charts import Line, charts, line_chart
from geoseg.reports.files import check_report, write_page
from geoseg.reports.markup import (
    UNDEFINED,
    Section,
    cards,
    class_keys,
    figure,
    page,
    paragraphs,
    share,
    size_in_bytes,
    table,
    time_span,
    warning_box,
)
from geoseg.reports.pictures import captioned, errors_png, labels_png, picture
from geoseg.reports.places import Place, place_gallery, place_of

__all__ = [
    "UNDEFINED",
    "Line",
    "Place",
    "Section",
    "calibration_chart",
    "calibration_table",
    "captioned",
    "cards",
    "charts",
    "check_report",
    "class_keys",
    "class_table",
    "confusion_table",
    "errors_png",
    "figure",
    "figure_rows",
    "headline",
    "labels_png",
    "line_chart",
    "page",
    "paragraphs",
    "picture",
    "place_gallery",
    "place_of",
    "share",
    "share_table",
    "size_in_bytes",
    "table",
    "time_span",
    "warning_box",
    "write_page",
]
