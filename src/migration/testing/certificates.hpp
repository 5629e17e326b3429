// An authority that lives for one test, and what it signs; secrets; all in a directory that goes with it.
#pragma once

#include "base/check.hpp"
#include "base/testing/temporary_directory.hpp"
#include "migration/link/tls.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace aerate::migration::testing {

/// Writes a file of `length` bytes, all `fill`, and returns its path.
[[nodiscard]] inline std::string secret_file(const TemporaryDirectory& directory, const std::string& name, char fill,
                                             std::size_t length = 32) {
    std::ofstream(directory / name) << std::string(length, fill);
    CHECK(::chmod((directory / name).c_str(), 0600) == 0);
    return directory / name;
}

class Authority {
public:
    struct CertificateOptions {
        const char* names = "IP:127.0.0.1"; ///< subjectAltName
        long ends_in = 3600;                ///< seconds from now
        const char* purpose = nullptr;      ///< extendedKeyUsage
    };

    Authority(const TemporaryDirectory& directory, const std::string& name)
        : directory_(directory)
        , name_(name)
        , key_(EVP_EC_gen("P-256"))
        , certificate_(make(key_.get(), {.names = nullptr}, true)) {
        write(directory / (name + ".pem"), certificate_.get());
    }

    /// Files that prove to be `name`, and trust what this authority signs.
    [[nodiscard]] Protection issue(const std::string& name) const { return issue(name, CertificateOptions{}); }
    [[nodiscard]] Protection issue(const std::string& name, const CertificateOptions& options) const {
        const std::unique_ptr<EVP_PKEY, Free> key(EVP_EC_gen("P-256"));
        const auto certificate = make(key.get(), options, false);
        const Protection files{.certificate_path = directory_ / (name + ".pem"),
                               .key_path = directory_ / (name + ".key"),
                               .ca_path = directory_ / (name_ + ".pem")};
        write(files.certificate_path, certificate.get());
        std::FILE* file = std::fopen(files.key_path.c_str(), "w");
        CHECK(file != nullptr && PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
        CHECK(std::fclose(file) == 0 && ::chmod(files.key_path.c_str(), 0600) == 0);
        return files;
    }

private:
    struct Free {
        void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
        void operator()(X509* certificate) const { X509_free(certificate); }
    };
    using Certificate = std::unique_ptr<X509, Free>;

    Certificate make(EVP_PKEY* subject, const CertificateOptions& options, bool authority) const {
        Certificate made(X509_new());
        X509_set_version(made.get(), X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(made.get()), authority ? 1 : 2);
        X509_gmtime_adj(X509_getm_notBefore(made.get()), -7200);
        X509_gmtime_adj(X509_getm_notAfter(made.get()), options.ends_in);
        const auto name_as = [](X509_NAME* into, const std::string& text) {
            X509_NAME_add_entry_by_txt(into, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(text.c_str()),
                                       -1, -1, 0);
        };
        name_as(X509_get_subject_name(made.get()), authority ? name_ : "a monitor");
        name_as(X509_get_issuer_name(made.get()), name_);
        X509_set_pubkey(made.get(), subject);
        X509V3_CTX context;
        X509V3_set_ctx(&context, made.get(), made.get(), nullptr, nullptr, 0);
        const auto extend = [&](int kind, const char* value) {
            X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
            CHECK(extension != nullptr && X509_add_ext(made.get(), extension, -1) == 1);
            X509_EXTENSION_free(extension);
        };
        extend(NID_basic_constraints, authority ? "critical,CA:TRUE" : "CA:FALSE");
        if (options.names != nullptr)
            extend(NID_subject_alt_name, options.names);
        if (options.purpose != nullptr)
            extend(NID_ext_key_usage, options.purpose);
        CHECK(X509_sign(made.get(), key_.get(), EVP_sha256()) > 0);
        return made;
    }
    static void write(const std::string& path, X509* certificate) {
        std::FILE* file = std::fopen(path.c_str(), "w");
        CHECK(file != nullptr && PEM_write_X509(file, certificate) == 1);
        CHECK(std::fclose(file) == 0);
    }

    const TemporaryDirectory& directory_;
    std::string name_;
    std::unique_ptr<EVP_PKEY, Free> key_;
    Certificate certificate_;
};

inline std::unique_ptr<const Tls> load(const Protection& protection) {
    auto loaded = Tls::load(protection);
    CHECK(loaded);
    return *std::move(loaded);
}

} // namespace aerate::migration::testing
