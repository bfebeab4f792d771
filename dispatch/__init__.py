"""The live side: decide, execute once, stay safe, prove it."""
