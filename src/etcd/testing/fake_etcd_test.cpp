#include "etcd/testing/fake_etcd.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <unistd.h>

#include <sys/socket.h>

#include <array>

namespace aerate::etcd::testing {
namespace {

using nlohmann::json;

std::string encoded(const std::string& text) {
    std::string into((text.size() + 2) / 3 * 4 + 1, '\0');
    ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(into.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    into.pop_back();
    return into;
}

std::string decoded(const std::string& text) {
    std::string bytes(text.size() / 4 * 3, '\0');
    ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    bytes.resize(bytes.size() - static_cast<std::size_t>(std::count(text.begin(), text.end(), '=')));
    return bytes;
}

std::string reply(unsigned status, const json& body) {
    const std::string text = body.dump();
    return fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
                       text.size(), text);
}

/// Reads a request whose end is told by its length; what is read ends early when the client goes.
std::string read_request(int fd) {
    std::string request;
    std::array<char, 4096> chunk{};
    for (;;) {
        const auto head = request.find("\r\n\r\n");
        const auto length = request.find("Content-Length: ");
        if (head != request.npos && length != request.npos &&
            request.size() >= head + 4 + std::stoul(request.substr(length + 16)))
            return request;
        const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
        if (got <= 0)
            return "";
        request.append(chunk.data(), static_cast<std::size_t>(got));
    }
}

} // namespace

FakeEtcd::FakeEtcd(std::size_t members) {
    for (std::size_t i = 0; i < members; ++i) {
        auto& member = *members_.emplace_back(std::make_unique<Member>());
        member.listener = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        (void)::bind(member.listener.get(), reinterpret_cast<sockaddr*>(&address), size);
        (void)::listen(member.listener.get(), 64);
        (void)::getsockname(member.listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
        member.port = ntohs(address.sin_port);
        member.spoil = [](const std::string& answer) { return answer; };
        member.thread = std::jthread([this, &member] { serve(member); });
    }
}

FakeEtcd::~FakeEtcd() {
    for (const auto& member : members_)
        (void)::shutdown(member->listener.get(), SHUT_RDWR); // ends accept()
    for (const auto& member : members_)
        member->thread.join();
}

std::string FakeEtcd::address(std::size_t first) const {
    std::string text = "etcd:";
    for (std::size_t i = 0; i < members_.size(); ++i)
        text += fmt::format("{}127.0.0.1:{}", i == 0 ? "" : ",", members_[(first + i) % members_.size()]->port);
    return text + "/web,plain";
}

void FakeEtcd::spoil(std::size_t member, Spoil how) {
    const std::lock_guard alone(lock_);
    members_[member]->spoil = std::move(how);
}
void FakeEtcd::carry_out_twice(bool twice) {
    const std::lock_guard alone(lock_);
    twice_ = twice;
}
void FakeEtcd::want_login(std::string user_and_password) {
    const std::lock_guard alone(lock_);
    login_ = std::move(user_and_password);
}
void FakeEtcd::forget_logins() {
    const std::lock_guard alone(lock_);
    token_ = "none";
}
unsigned FakeEtcd::logins() const {
    const std::lock_guard alone(lock_);
    return logins_;
}
unsigned FakeEtcd::questions() const {
    const std::lock_guard alone(lock_);
    return questions_;
}
void FakeEtcd::remove(const std::string& key) {
    const std::lock_guard alone(lock_);
    pairs_.erase(encoded(key));
}
void FakeEtcd::put(const std::string& key, const std::string& value) {
    const std::lock_guard alone(lock_);
    write(encoded(key), encoded(value));
}

void FakeEtcd::serve(Member& member) {
    for (;;) {
        const FileDescriptor client(::accept4(member.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client.valid())
            return;
        const std::string request = read_request(client.get());
        if (request.empty())
            continue;
        Spoil spoil;
        std::string answer;
        {
            const std::lock_guard alone(lock_);
            answer = answer_to(request);
            if (twice_)
                answer = answer_to(request);
            spoil = member.spoil;
        }
        const std::string sent = spoil(answer);
        (void)::send(client.get(), sent.data(), sent.size(), MSG_NOSIGNAL);
    }
}

std::string FakeEtcd::answer_to(const std::string& request) {
    ++questions_;
    const json body = json::parse(request.substr(request.find("\r\n\r\n") + 4));
    if (request.starts_with("POST /v3/auth/authenticate ")) {
        if (body.at("name").get<std::string>() + ":" + body.at("password").get<std::string>() != login_)
            return reply(400, {{"error", "etcdserver: authentication failed, invalid user ID or password"}});
        token_ = fmt::format("token.{}", ++logins_);
        return reply(200, {{"token", token_}});
    }
    if (!login_.empty() && !request.contains("\r\nAuthorization: " + token_ + "\r\n"))
        return reply(401, {{"error", "etcdserver: invalid auth token"}});
    if (!request.starts_with("POST /v3/kv/txn "))
        return reply(404, {{"error", "Not Found"}});
    return reply(200, transact(body));
}

json FakeEtcd::transact(const json& question) {
    bool success = true;
    for (const json& compare : question.at("compare"))
        success = success && holds(compare);
    json responses = json::array();
    for (const json& wanted : question.at(success ? "success" : "failure")) {
        if (wanted.contains("request_put")) {
            write(wanted["request_put"]["key"], wanted["request_put"]["value"]);
            responses.push_back({{"response_put", {{"header", {{"revision", std::to_string(revision_)}}}}}});
            continue;
        }
        const std::string key = wanted.at("request_range").at("key");
        json range{{"header", {{"revision", std::to_string(revision_)}}}};
        if (const auto found = pairs_.find(key); found != pairs_.end()) {
            const Pair& pair = found->second;
            range["kvs"] = json::array({{{"key", key},
                                         {"value", pair.value},
                                         {"version", std::to_string(pair.version)},
                                         {"create_revision", std::to_string(pair.created)}}});
        }
        responses.push_back({{"response_range", range}});
    }
    json answer{{"header", {{"revision", std::to_string(revision_)}}}, {"responses", responses}};
    if (success)
        answer["succeeded"] = true;
    return answer;
}

bool FakeEtcd::holds(const json& compare) {
    const auto found = pairs_.find(compare.at("key").get<std::string>());
    const Pair pair = found == pairs_.end() ? Pair{} : found->second;
    const std::string target = compare.at("target");
    if (target == "CREATE")
        return std::to_string(pair.created) == compare.at("create_revision").get<std::string>();
    if (target == "VERSION")
        return std::to_string(pair.version) == compare.at("version").get<std::string>();
    if (found == pairs_.end())
        return false; // etcd: a value that is not there compares with nothing
    const int order = decoded(pair.value).compare(decoded(compare.at("value")));
    const std::string result = compare.at("result");
    return result == "GREATER" ? order > 0 : result == "LESS" ? order < 0 : order == 0;
}

void FakeEtcd::write(const std::string& key, const std::string& value) {
    Pair& pair = pairs_[key];
    ++revision_;
    pair.created = pair.version == 0 ? revision_ : pair.created;
    ++pair.version;
    pair.value = value;
}

} // namespace aerate::etcd::testing
