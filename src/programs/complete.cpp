#include "programs/complete.hpp"

#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <algorithm>
#include <chrono>
#include <sstream>

namespace aerate {
namespace {

bool is_shown(const CLI::Option& option) {
    return !option.get_group().empty();
}

const CLI::Option* find_option(const CLI::App& app, std::string_view word) {
    for (const CLI::Option* option : app.get_options())
        if (option->nonpositional() && option->check_name(std::string(word)))
            return option;
    return nullptr;
}

const CLI::App* find_command(const CLI::App& app, const std::string& word) {
    const auto found = app.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == word; });
    return found.empty() ? nullptr : found.front();
}

const CLI::Option* find_positional(const CLI::App& app, std::size_t place) {
    for (const CLI::Option* option : app.get_options()) {
        if (!option->get_positional())
            continue;
        if (place == 0 || option->get_items_expected_max() > 1) // the last of them may take all that follow
            return option;
        --place;
    }
    return nullptr;
}

/// Where in the command line the cursor is.
struct Cursor {
    const CLI::App* app;
    const CLI::Option* value_of = nullptr; ///< the option whose value is being typed
    std::size_t place = 0;                 ///< how many positional arguments are before it
    bool options_end = false;              ///< after "--"
};

Cursor walk(const CLI::App& app, const std::vector<std::string>& before) {
    Cursor cursor{&app};
    for (const std::string& word : before) {
        if (cursor.value_of != nullptr) {
            cursor.value_of = nullptr;
        } else if (cursor.options_end || !word.starts_with('-')) {
            const CLI::App* const command = find_command(*cursor.app, word);
            if (command != nullptr && !cursor.options_end)
                cursor = Cursor{command};
            else
                ++cursor.place;
        } else if (word == "--") {
            cursor.options_end = true;
        } else if (const auto* const option = find_option(*cursor.app, word); option && option->get_type_size() != 0) {
            cursor.value_of = option;
        }
    }
    return cursor;
}

/// Offers what the option's type and its checks name: "{auto,off}" lists words.
void offer_values(const CLI::Option& option, const CLI::App& root, Completions& to) {
    const std::string type = option.get_type_name();
    if (const auto open = type.find('{'); open != type.npos) {
        std::istringstream list(type.substr(open + 1, type.find('}', open) - open - 1));
        for (std::string word; std::getline(list, word, ',');)
            to.words.push_back({word, ""});
    } else if (type.starts_with("FILE") || type.starts_with("PATH") || type.starts_with("SOCKET")) {
        to.paths = Completions::Paths::files;
    } else if (type.starts_with("DIR")) {
        to.paths = Completions::Paths::directories;
    } else if (option.get_positional()) {
        const std::string name = option.get_name(true);
        to.vms = name == "name";
        if (name == "file")
            to.paths = Completions::Paths::files;
        if (name == "command")
            for (const CLI::App* command : root.get_subcommands({}))
                to.words.push_back({command->get_name(), command->get_description()});
    }
}

void offer_options(const CLI::App& app, Completions& to) {
    for (const CLI::Option* option : app.get_options([](const CLI::Option* one) { return is_shown(*one); })) {
        for (const std::string& name : option->get_lnames())
            to.words.push_back({"--" + name, option->get_description()});
        if (option->get_lnames().empty())
            for (const std::string& name : option->get_snames())
                to.words.push_back({"-" + name, option->get_description()});
    }
}

/// Joins what bash splits: it makes three words of "--option=value", since the sign is one of its own.
void join_split_values(std::vector<std::string>& words) {
    const bool typed = !words.empty() && words.back() == "=";
    for (std::size_t at = 1; at < words.size();)
        if (words[at] == "=" && words[at - 1].starts_with("--"))
            words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
        else
            ++at;
    if (typed)
        words.emplace_back();
}

} // namespace

Completions complete(const CLI::App& app, std::vector<std::string> words) {
    join_split_values(words);
    std::string typed = words.empty() ? "" : words.back();
    if (!words.empty())
        words.pop_back();
    Cursor cursor = walk(app, words);
    std::string kept; // of the word, before what is completed
    if (const auto sign = typed.find('=');
        cursor.value_of == nullptr && typed.starts_with("--") && sign != typed.npos) {
        cursor.value_of = find_option(*cursor.app, typed.substr(0, sign));
        kept = typed.substr(0, sign + 1);
        typed.erase(0, sign + 1);
        if (cursor.value_of == nullptr)
            return {};
    }

    Completions all;
    if (cursor.value_of != nullptr) {
        offer_values(*cursor.value_of, app, all);
    } else if (typed.starts_with('-') && !cursor.options_end) {
        offer_options(*cursor.app, all);
    } else {
        for (const CLI::App* command : cursor.app->get_subcommands({}))
            all.words.push_back({command->get_name(), command->get_description()});
        if (const CLI::Option* positional = find_positional(*cursor.app, cursor.place))
            offer_values(*positional, app, all);
    }
    std::erase_if(all.words, [&](const auto& candidate) { return !candidate.word.starts_with(typed); });
    for (auto& candidate : all.words) {
        candidate.word.insert(0, kept);
        std::ranges::replace(candidate.description, '\n', ' ');
    }
    return all;
}

int print_completions(const CLI::App& app, std::vector<std::string> words) {
    const std::string typed = words.empty() ? "" : words.back();
    Completions all = complete(app, std::move(words));
    if (all.vms) {
        constexpr std::chrono::milliseconds patience{200}; // who types waits for it
        for (const auto& vm : query_running_vms(patience).answered)
            if (vm.name.starts_with(typed))
                all.words.push_back({vm.name, "a VM that runs"});
    }
    for (const auto& [word, description] : all.words)
        print("{}  {}\n", word, description);
    if (all.paths != Completions::Paths::none)
        print("{}\n", all.paths == Completions::Paths::files ? ":files" : ":directories");
    return 0;
}

} // namespace aerate
