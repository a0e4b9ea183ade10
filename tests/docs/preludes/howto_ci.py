from tests.docs.shop import project_files

project_files()
