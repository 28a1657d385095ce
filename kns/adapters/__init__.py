"""The implementations of the ports. Each outside library is used in one module, which translates its errors."""
