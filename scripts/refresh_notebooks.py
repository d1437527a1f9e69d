"""Execute the notebooks of docs/ in place and strip machine-dependent data from their outputs (``make docs``)."""

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
# Terminal styles, the speed row of the results table, and the path of the run.
MACHINE_DEPENDENT = re.compile(r"\x1b\[\d*m|(?m:^.*samples_per_second.*\n|^run: .*\n)")


def strip(notebook: nbformat.NotebookNode) -> None:
    """Remove machine-dependent data: paths, speed, progress bars, warnings (stderr), kernel and version."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
        printed = MACHINE_DEPENDENT.sub("", printed)
        # The live display of the progress bar is empty at the end.
        cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/plain")]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
        if printed:
            cell.outputs.insert(0, nbformat.v4.new_output("stream", name="stdout", text=printed))


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
