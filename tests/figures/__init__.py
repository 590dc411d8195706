"""The drawings of the chapters, one file a topic; a package, because tests beside it have files of the same names."""
