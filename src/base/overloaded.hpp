// Several lambdas as one visitor of a std::variant.
#pragma once

namespace aerate {

template <typename... Ts>
struct Overloaded : Ts... {
    using Ts::operator()...;
};

} // namespace aerate
