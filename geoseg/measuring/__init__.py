"""Areas and lengths on the ground: planes that are true to area, and the measures of rings in them."""
