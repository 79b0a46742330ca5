"""An example of a package that plugs into seerc: one pass and one cost model."""
