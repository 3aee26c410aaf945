"""What may not change between a release's protobuf contract and the next one's: whatever breaks a reader of the other."""
import pathlib
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, text_format

TREE = pathlib.Path(__file__).resolve().parents[2]


def last_release():
    """(version, commit, FileDescriptorSet) of the newest folder of proto/release."""
    folders = [f for f in (TREE / "proto/release").iterdir() if f.is_dir()]
    newest = max(folders, key=lambda f: [int(n) for n in f.name.split(".")])
    found = text_format.Parse((newest / "descriptor.txtpb").read_text(), descriptor_pb2.FileDescriptorSet())
    return newest.name, (newest / "commit").read_text().strip(), found


def present():
    """FileDescriptorSet of proto/ecolink/v1 as it is now."""
    with tempfile.NamedTemporaryFile() as out:
        files = sorted(str(f.relative_to(TREE / "proto")) for f in (TREE / "proto/ecolink").rglob("*.proto"))
        subprocess.run(["protoc", "-I", TREE / "proto", f"--descriptor_set_out={out.name}", *files], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes())


def flatten(files):
    """({full name: message}, {full name: enum}), nested ones included."""
    messages, enums = {}, {}

    def walk(prefix, message):
        messages[f"{prefix}.{message.name}"] = message
        for inner in message.nested_type:
            walk(f"{prefix}.{message.name}", inner)
        for enum in message.enum_type:
            enums[f"{prefix}.{message.name}.{enum.name}"] = enum
    for file in files.file:
        for message in file.message_type:
            walk(file.package, message)
        for enum in file.enum_type:
            enums[f"{file.package}.{enum.name}"] = enum
    return messages, enums


def breaks(old, new):
    """Every break, as a line that says what and where; [] when the two understand each other."""
    found = []
    old_messages, old_enums = flatten(old)
    new_messages, new_enums = flatten(new)
    for name, message in old_messages.items():
        if name in new_messages:
            found += message_breaks(name, message, new_messages[name])
        else:
            found.append(f"{name}: message removed")
    for name, enum in old_enums.items():
        if name in new_enums:
            found += enum_breaks(name, enum, new_enums[name])
        else:
            found.append(f"{name}: enum removed")
    return found


def message_breaks(name, old, new):
    found = []
    by_number = {f.number: f for f in new.field}
    by_name = {f.name: f for f in new.field}
    for field in old.field:
        where = f"{name}.{field.name}"
        now = by_number.get(field.number)
        if now is None:
            if field.name in by_name:
                found.append(f"{where}: renumbered from {field.number} to {by_name[field.name].number}")
            elif not reserves(new.reserved_range, field.number, 0) or field.name not in new.reserved_name:
                found.append(f"{where}: removed without `reserved {field.number}` and `reserved \"{field.name}\"`")
        elif now.name != field.name:
            found.append(f"{where}: number {field.number} is now {now.name} (reused or renamed)")
        else:
            found += [f"{where}: {what} changed" for what in
                      ("type", "type_name", "label") if getattr(field, what) != getattr(now, what)]
            if oneof(old, field) != oneof(new, now):
                found.append(f"{where}: oneof changed from {oneof(old, field)} to {oneof(new, now)}")
    for kept in old.reserved_range:
        for number in range(kept.start, min(kept.end, kept.start + 1000)):
            if not reserves(new.reserved_range, number, 0):
                found.append(f"{name}: {number} is reserved no more")
    found += [f"{name}: \"{kept}\" is reserved no more" for kept in old.reserved_name if kept not in new.reserved_name]
    return found


def oneof(message, field):
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None


def reserves(ranges, number, inclusive):
    return any(r.start <= number < r.end + inclusive for r in ranges)  # enums' ranges include their end


def enum_breaks(name, old, new):
    found = []
    by_number = {v.number: v.name for v in new.value}
    names = {v.name for v in new.value}
    for value in old.value:
        where = f"{name}.{value.name}"
        now = by_number.get(value.number)
        if now is None:
            if value.name in names:
                found.append(f"{where}: renumbered")
            elif not reserves(new.reserved_range, value.number, 1) or value.name not in new.reserved_name:
                found.append(f"{where}: removed without reserving {value.number} and its name")
        elif now != value.name:
            found.append(f"{where}: number {value.number} is now {now}")
    return found
