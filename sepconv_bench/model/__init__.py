"""What is asked and what it must cost: shapes, operators, grids, theory, attribution, networks, the reference."""
