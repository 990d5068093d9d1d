// Reads a byte range of a file into memory.
#pragma once

#include <cstdint>
#include <string>

#include "array.h"
#include "result.h"

namespace infernode {

// FILE_UNREADABLE if it cannot be opened or read, FILE_CORRUPT naming `field` if the file ends before the range does.
Result<Array<char>> read_file_range(const std::string& path, uint64_t offset, uint64_t bytes, const char* field);

// The whole file, at most `limit` bytes of it, else FORMAT_UNSUPPORTED.
Result<Array<char>> read_whole_file(const std::string& path, uint64_t limit);

}  // namespace infernode
