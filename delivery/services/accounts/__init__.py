"""Users of the console: accounts, sign-in, sessions, and portal links for partners."""
