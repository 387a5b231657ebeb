"""What own data is: its layout, its class tables, and what its masks hold."""
