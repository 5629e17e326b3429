// Files that released monitors wrote, kept as test data.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace aerate::testing {

/// Returns empty when there is no such file. `directory` is AERATE_SAMPLES, which each layer's tests have for
/// themselves.
inline std::vector<std::byte> sample(const std::string& directory, const std::string& name) {
    std::ifstream file(directory + "/" + name, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::byte> bytes(text.size());
    std::ranges::copy(std::as_bytes(std::span(text)), bytes.begin());
    return bytes;
}

} // namespace aerate::testing
