"""Labels to polygons by way of arcs, strip by strip, in pixel coordinates; memory is bounded by what is open."""
