"""The live dispatcher: a bundle behind HTTP, deciding with the code that simulated it."""
