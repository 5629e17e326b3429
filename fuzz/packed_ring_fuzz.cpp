#include "ring_script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate::fuzz;
    Script script(data, size);
    const FeatureSet features = ring_features(script).with(feature::ring_packed);
    const auto ring_size = static_cast<std::uint16_t>(1 + script.below(33));
    RingScript<PackedDriver>(script, ring_size, features).run();
    return 0;
}
