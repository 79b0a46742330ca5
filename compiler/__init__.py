"""Model in, native program out: frontends, planning, kernel emission, native code, programs."""
