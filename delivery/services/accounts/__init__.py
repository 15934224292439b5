"""People at the console: accounts, sign-in, sessions, and links for partners to their own tenant."""
