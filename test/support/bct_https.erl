%%% @doc A real git HTTP server on loopback: nginx and git-http-backend, with a certificate of an own CA.
%%%
%%% `/public/…' needs nothing, `/private/…' user and password. `/other/…' redirects to the private
%%% ones under another host name, `/same/…' under the same. `/status/N' answers with that status. The
%%% certificate is also that of all names below example.test. The same is served without TLS.
-module(bct_https).
-export([start/2, stop/1, url/2, plain_url/2, access_log/1]).

%% @doc Serves the repositories below Options' `root'; `user' and `password' open the private ones.
%% What `pass' names stands below its name and comes from that port of this machine.
start(Dir0, #{root := Root, user := User, password := Password} = Options) ->
    Dir = unicode:characters_to_list(Dir0),
    ok = filelib:ensure_path(filename:join(Dir, "tmp")),
    Nginx = bct_server:program("nginx", "nginx-light"),
    Wrap = bct_server:program("fcgiwrap", "fcgiwrap"),
    Backend = bct_server:program("git-http-backend", "git"),
    certificates(Dir),
    Hash = string:trim(bct_server:run(openssl(), ["passwd", "-apr1", Password], Dir)),
    ok = file:write_file(filename:join(Dir, "users"), [User, ":", Hash, "\n"]),
    Port = bct_server:free_port(),
    Plain = bct_server:free_port(),
    Socket = filename:join(Dir, "fcgi"),
    Config = filename:join(Dir, "nginx.conf"),
    ok = file:write_file(Config, config(Dir, {Port, Plain}, Socket, Backend, Root, maps:get(pass, Options, #{}))),
    Cgi = bct_server:start(Wrap, ["-c", "4", "-s", "unix:" ++ Socket], filename:join(Dir, "fcgi.log")),
    Web = bct_server:start(Nginx, ["-p", Dir, "-c", Config, "-e", "error.log"], filename:join(Dir, "nginx.log")),
    ok = bct_server:wait_tcp(Port),
    #{dir => Dir, port => Port, plain => Plain, processes => [Web, Cgi], ca => list_to_binary(filename:join(Dir, "ca.pem"))}.

stop(#{processes := Processes}) ->
    lists:foreach(fun bct_server:stop/1, Processes).

url(#{port := Port}, Path) ->
    iolist_to_binary(io_lib:format("https://127.0.0.1:~b/~ts", [Port, Path])).

plain_url(#{plain := Port}, Path) ->
    iolist_to_binary(io_lib:format("http://127.0.0.1:~b/~ts", [Port, Path])).

access_log(#{dir := Dir}) ->
    {ok, Log} = file:read_file(filename:join(Dir, "access.log")),
    Log.

config(Dir, {Port, Plain}, Socket, Backend, Root, Pass) ->
    User = case bct_server:user() of "root" -> "user root;\n"; _ -> "" end,
    Cgi = [
        "fastcgi_pass unix:", Socket, ";\n"
        "fastcgi_param SCRIPT_FILENAME ", Backend, ";\n"
        "fastcgi_param GIT_PROJECT_ROOT ", Root, ";\n"
        "fastcgi_param GIT_HTTP_EXPORT_ALL 1;\n"
        "fastcgi_param PATH_INFO $git_path;\n"
        "fastcgi_param QUERY_STRING $query_string;\n"
        "fastcgi_param REQUEST_METHOD $request_method;\n"
        "fastcgi_param CONTENT_TYPE $content_type;\n"
        "fastcgi_param CONTENT_LENGTH $content_length;\n"
        "fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;\n"
        "fastcgi_param REMOTE_USER $remote_user;\n"
        "fastcgi_param GIT_PROTOCOL $http_git_protocol;\n"
        "fastcgi_param GIT_CONFIG_COUNT 1;\n"
        "fastcgi_param GIT_CONFIG_KEY_0 safe.directory;\n"
        "fastcgi_param GIT_CONFIG_VALUE_0 *;\n"
    ],
    Temp = [["  ", Kind, "_temp_path ", Dir, "/tmp/", Kind, ";\n"]
            || Kind <- ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]],
    P = integer_to_list(Port),
    [
        User, "daemon off;\nworker_processes 1;\npid ", Dir, "/nginx.pid;\nevents {}\nhttp {\n",
        "  access_log ", Dir, "/access.log;\n", Temp, "  client_max_body_size 0;\n",
        "  server {\n    listen 127.0.0.1:", P, " ssl;\n    listen 127.0.0.1:", integer_to_list(Plain), ";\n    server_name 127.0.0.1 localhost;\n",
        "    ssl_certificate ", Dir, "/server.pem;\n    ssl_certificate_key ", Dir, "/server.key;\n",
        "    location ~ ^/public(?<git_path>/.*)$ {\n", Cgi, "    }\n",
        "    location ~ ^/private(?<git_path>/.*)$ {\n      auth_basic git;\n      auth_basic_user_file ",
        Dir, "/users;\n", Cgi, "    }\n",
        "    location ~ ^/other/(?<rest>.*)$ { return 302 https://localhost:", P, "/private/$rest$is_args$args; }\n",
        "    location ~ ^/same/(?<rest>.*)$ { return 302 https://127.0.0.1:", P, "/private/$rest$is_args$args; }\n",
        [["    location /", Name, "/ { proxy_pass http://127.0.0.1:", integer_to_list(To), "/; }\n"]
         || {Name, To} <- maps:to_list(Pass)],
        [["    location /status/", S, " { return ", S, "; }\n"] || S <- ["403", "404", "500", "503"]],
        "  }\n}\n"
    ].

%% A CA, and a certificate of it.
certificates(Dir) ->
    New = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    bct_server:run(openssl(), New ++ ["-x509", "-days", "2", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"], Dir),
    bct_server:run(openssl(), New ++ ["-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"], Dir),
    ok = file:write_file(filename:join(Dir, "ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.example.test\n"),
    bct_server:run(openssl(), ["x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                               "-CAcreateserial", "-extfile", "ext", "-out", "server.pem"], Dir).

openssl() ->
    bct_server:program("openssl", "openssl").
