"""The AppDef: what an app author writes, checked and frozen."""
