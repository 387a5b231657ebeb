"""What every part needs: errors, files, flags, threads, devices."""
