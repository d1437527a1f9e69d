"""Execute the notebooks of docs/ in place and strip machine-dependent data from their outputs (``make docs``)."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def strip(notebook: nbformat.NotebookNode) -> None:
    """Remove progress bars and warnings (stderr), execution counts, and metadata of kernel and Python version."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None


def main() -> None:
    """Execute each notebook in its folder; the first error is raised."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(path.parent)}}).execute()
        strip(notebook)
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
