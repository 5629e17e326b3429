#include "ring_script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate::fuzz;
    Script script(data, size);
    const FeatureSet features = ring_features(script);
    const auto ring_size = static_cast<std::uint16_t>(1U << script.below(6));
    RingScript<SplitDriver>(script, ring_size, features).run();
    return 0;
}
