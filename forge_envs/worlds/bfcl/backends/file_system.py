"""GorillaFileSystem: a small shell over files in memory."""

from __future__ import annotations

from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal
from forge_envs.worlds.bfcl.backends.files import Directory, Entry, File, flat, shown, unflattened, walk

FORBIDDEN = '|/\\?%*:"><'
"""Characters that no name may hold where a new one is given."""
UNITS = ("B", "KB", "MB", "GB", "TB")
MISSING = "No such file or directory"


class GorillaFileSystem(Backend):
    """A tree of directories and one place in it.

    Copied and moved directories share what they hold with where it came from, as in the official simulator.
    """

    root: Directory
    long_context: bool

    def _start(self, config: dict[str, Any]) -> None:
        self.long_context = self._long
        self.root = Directory("/")
        if "root" in config:
            (name, tree), *_ = config["root"].items()
            self.root = self._fill(Directory(name), tree["contents"])
        self._here = self.root

    def _fill(self, directory: Directory, contents: dict[str, Any]) -> Directory:
        for name, row in contents.items():
            if row["type"] == "directory":
                directory.contents[name] = self._fill(Directory(name, directory), row["contents"])
            elif row["type"] == "file":
                content = row["content"]
                if self._long and name not in self._filler("FILES_TAIL_USED"):
                    content += self._filler("FILE_CONTENT_EXTENSION")
                directory.contents[name] = File(name, content)
        if self._long and not any(row["type"] == "directory" for row in contents.values()):
            for name in self._filler("POPULATE_FILE_EXTENSION"):
                directory.add_file(name)
        return directory

    def state(self) -> dict[str, Any]:
        """The tree; where the user is in it is not compared."""
        return {"long_context": self.long_context, "root": shown(self.root)}

    def __getstate__(self) -> dict[str, Any]:
        rest = {name: value for name, value in vars(self).items() if name not in ("root", "_here")}
        return {**rest, "tree": flat([self.root, self._here]) if "root" in vars(self) else None}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        tree = saved.pop("tree")
        vars(self).update(saved)
        if tree is not None:
            self.root, self._here = unflattened(tree)

    # -- places ----------------------------------------------------------------------------------------------

    def pwd(self) -> Answer:
        """The path from the root, the root's name included."""
        names, directory = [], self._here
        while True:
            names.append(directory.name)
            if directory.parent is None:
                return {"current_working_directory": "/" + "/".join(reversed(names))}
            directory = directory.parent

    def ls(self, a: bool = False) -> Answer:
        """Names of what is here; those that begin with a dot only when asked for."""
        return {
            "current_directory_content": [
                name for name in self._here.contents if a or not name.startswith(".")
            ]
        }

    def cd(self, folder: str) -> Answer:
        """Go one level down, up with "..", or to the root with "/"."""
        folder = folder.rstrip("/") or "/"
        if folder not in (".", "..", "/") and "/" in folder:
            text = f"cd: {folder}: Unsupported path. Only one folder level at a time is supported."
            return refusal(text)
        if folder == "..":
            return self._up("Current directory is already the root. Cannot go back.")
        return self._enter(folder, f"cd: '{folder}': {MISSING}")

    def _up(self, at_root: str) -> Answer:
        if self._here.parent is None:
            return refusal(at_root)
        self._here = self._here.parent
        return {}

    def _enter(self, path: str, otherwise: str) -> Answer:
        target = self._directory(path)
        if target is None:
            return refusal(otherwise)
        self._here = target
        return {"current_working_directory": target.name}

    def _directory(self, path: str | None) -> Directory | None:
        """The directory at a path; a path may have several levels, none of them ".."."""
        if path is None or path == ".":
            return self._here
        if path == "/":
            return self.root
        names = path.strip("/").split("/")
        found: Entry | None = self.root if path.startswith("/") else self._here
        for name in names:
            found = found.get(name) if isinstance(found, Directory) else None
        return found if isinstance(found, Directory) else None

    # -- reading ---------------------------------------------------------------------------------------------

    def _file(self, name: str) -> File | None:
        entry = self._here.get(name) if name in self._here.contents else None
        return entry if isinstance(entry, File) else None

    def cat(self, file_name: str) -> Answer:
        """What a file holds."""
        if forbidden(file_name):
            return refusal(f"cat: '{file_name}': Invalid character")
        return self._cat(file_name, f"cat: '{file_name}': ")

    def _cat(self, file_name: str, prefix: str) -> Answer:
        if file_name not in self._here.contents:
            return refusal(f"{prefix}{MISSING}")
        file = self._file(file_name)
        return refusal(f"{prefix}Is a directory") if file is None else {"file_content": file.content}

    def find(self, path: str = ".", name: str | None = None) -> Answer:
        """Paths of everything below a directory whose name contains `name`."""
        target = self._directory(path)
        if target is None:
            return refusal(f"find: '{path}': {MISSING}")
        return self._find(target, path, name)

    def _find(self, target: Directory, path: str, name: str | None) -> Answer:
        found = [here for called, here, _ in walk(target, path.rstrip("/")) if name is None or name in called]
        return {"matches": found}

    def wc(self, file_name: str, mode: str = "l") -> Answer:
        """Lines, words or characters of a file."""
        if mode not in ["l", "w", "c"]:
            return refusal(f"wc: invalid mode '{mode}'")
        file = self._file(file_name)
        if file is None:
            return refusal(f"wc: {file_name}: {MISSING}")
        if mode == "l":
            return {"count": len(file.content.splitlines()), "type": "lines"}
        if mode == "w":
            return {"count": len(file.content.split()), "type": "words"}
        return {"count": len(file.content), "type": "characters"}

    def sort(self, file_name: str) -> Answer:
        """A file's lines in order; the file stays as it is."""
        file = self._file(file_name)
        if file is None:
            return refusal(f"sort: {file_name}: {MISSING}")
        return {"sorted_content": "\n".join(sorted(file.content.splitlines()))}

    def grep(self, file_name: str, pattern: str) -> Answer:
        """A file's lines that contain a text."""
        file = self._file(file_name)
        if file is None:
            return refusal(f"grep: {file_name}: {MISSING}")
        return {"matching_lines": [line for line in file.content.splitlines() if pattern in line]}

    def du(self, human_readable: bool = False) -> Answer:
        """Bytes in the files below here."""
        contents = [entry.content for _, _, entry in walk(self._here, "") if isinstance(entry, File)]
        sizes = {id(content): len(content.encode("utf-8")) for content in contents}  # copies share their text
        size: float = sum(sizes[id(content)] for content in contents)
        if not human_readable:
            return {"disk_usage": f"{size} bytes"}
        for unit in UNITS:
            if size < 1024:
                return {"disk_usage": f"{size:.2f} {unit}"}
            size /= 1024
        return {"disk_usage": f"{size:.2f} PB"}

    def tail(self, file_name: str, lines: int = 10) -> Answer:
        """A file's last lines; all of them when 0 are asked for."""
        file = self._file(file_name)
        if file is None:
            return refusal(f"tail: {file_name}: {MISSING}")
        held = file.content.splitlines()
        if lines > len(held):
            lines = len(held)
        return {"last_lines": "\n".join(held[-lines:])}

    def diff(self, file_name1: str, file_name2: str) -> Answer:
        """Lines at the same place that differ; what one file has more than the other is not looked at."""
        both = file_name1 in self._here.contents and file_name2 in self._here.contents
        one, two = (self._file(file_name1), self._file(file_name2)) if both else (None, None)
        if one is None or two is None:
            return refusal(f"diff: {file_name1} or {file_name2}: {MISSING}")
        pairs = zip(one.content.splitlines(), two.content.splitlines(), strict=False)
        return {"diff_lines": "\n".join(f"- {left}\n+ {right}" for left, right in pairs if left != right)}

    # -- changing --------------------------------------------------------------------------------------------

    def mkdir(self, dir_name: str) -> Answer:
        """A new directory here."""
        if problem := self._not_new(dir_name):
            return refusal(f"mkdir: cannot create directory '{dir_name}': {problem}")
        self._here.add_directory(dir_name)
        return None

    def touch(self, file_name: str) -> Answer:
        """A new empty file here."""
        if problem := self._not_new(file_name):
            return refusal(f"touch: cannot touch '{file_name}': {problem}")
        self._here.add_file(file_name)
        return None

    def _not_new(self, name: str) -> str | None:
        if forbidden(name):
            return "Invalid character"
        return "File exists" if name in self._here.contents else None

    def echo(self, content: str, file_name: str | None = None) -> Answer:
        """Say something, or write it over what a file here holds."""
        if file_name is None:
            return {"terminal_output": content}
        if forbidden(file_name):
            return refusal(f"echo: cannot write to '{file_name}': Invalid character")
        if not file_name:
            return {"terminal_output": content}
        if file_name not in self._here.contents:
            return refusal(f"echo: cannot write to '{file_name}': No such file")
        return self._overwrite(file_name, content)

    def _overwrite(self, file_name: str, content: Any) -> Answer:
        file = self._file(file_name)
        if file is None:
            raise AttributeError("'Directory' object has no attribute '_write'")
        file.content = content

    def rm(self, file_name: str) -> Answer:
        """Remove a file, or a directory with all in it."""
        if file_name not in self._here.contents:
            return refusal(f"rm: cannot remove '{file_name}': {MISSING}")
        del self._here.contents[file_name]
        return {"result": f"'{file_name}' removed"}

    def rmdir(self, dir_name: str) -> Answer:
        """Remove an empty directory."""
        return self._rmdir(dir_name, f"rmdir: cannot remove '{dir_name}': Directory not empty")

    def _rmdir(self, dir_name: str, not_empty: str) -> Answer:
        if dir_name not in self._here.contents:
            return refusal(f"rmdir: cannot remove '{dir_name}': {MISSING}")
        entry = self._here.get(dir_name)
        if not isinstance(entry, Directory):
            return refusal(f"rmdir: cannot remove '{dir_name}': Not a directory")
        if entry.contents:
            return refusal(not_empty)
        del self._here.contents[dir_name]
        return {"result": f"'{dir_name}' removed"}

    def mv(self, source: str, destination: str) -> Answer:
        """Rename something, or put it into a directory here."""
        entry, problem = self._source(source, "mv", "move")
        if entry is None:
            return refusal(problem)
        if "/" in destination:
            return refusal(self._no_path("mv"))
        if destination not in self._here.contents:
            del self._here.contents[source]
            _put(self._here, destination, entry, shared=True)
            return {"result": f"'{source}' moved to '{destination}'"}
        target = self._here.get(destination)
        if not isinstance(target, Directory):
            return refusal(f"mv: cannot move '{source}' to '{destination}': Not a directory")
        if source in target.contents:
            return refusal(f"mv: cannot move '{source}' to '{destination}/{source}': File exists")
        del self._here.contents[source]
        _put(target, source, entry, shared=True)
        return {"result": f"'{source}' moved to '{destination}/{source}'"}

    def cp(self, source: str, destination: str) -> Answer:
        """Copy something under another name, or into a directory here."""
        entry, problem = self._source(source, "cp", "copy")
        if entry is None:
            return refusal(problem)
        if "/" in destination:
            return refusal(self._no_path("cp"))
        if destination not in self._here.contents:
            _put(self._here, destination, entry, shared=False)
            return {"result": f"'{source}' copied to '{destination}'"}
        target = self._here.get(destination)
        if not isinstance(target, Directory):
            return refusal(f"cp: cannot copy '{source}' to '{destination}': Not a directory")
        if f"{destination}/{source}" in target.contents:  # never so: the official check looks for a path
            return refusal(f"cp: cannot copy '{source}' to '{destination}/{source}': File exists")
        _put(target, source, entry, shared=False)
        return {"result": f"'{source}' copied to '{destination}/{source}'"}

    def _source(self, name: str, command: str, verb: str) -> tuple[Entry | None, str]:
        missing = f"{command}: cannot {verb} '{name}': {MISSING}"
        return (self._here.get(name) if name in self._here.contents else None), missing

    def _no_path(self, command: str) -> str:
        return f"{command}: path not allowed in destination. Provide only a file or directory name."


def forbidden(name: str) -> bool:
    """Whether a name holds a sign that none may hold."""
    return any(sign in name for sign in FORBIDDEN)


def _put(target: Directory, name: str, entry: Entry, *, shared: bool) -> None:
    """Put an entry into a directory under a name: of a file its content, of a directory what it lists."""
    if isinstance(entry, File):
        target.add_file(name, entry.content)
    else:
        made = target.add_directory(name)
        made.contents = entry.contents if shared else entry.contents.copy()
