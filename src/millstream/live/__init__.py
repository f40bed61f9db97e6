"""A live stream: the newest picture in, the newest out, changes without a stall, and a bound on the age."""
