"""Where the wheel puts the folders networks, searchspaces and taskpairs of the repository."""
