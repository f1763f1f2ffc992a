// go.go: the works that Go knows: tasks, hand-overs, calls from threads, echo.
//
//     go WORK PARAMETER
//
// Prints what bench.h says; nothing, if Go does not know the work.
package main

import (
    "fmt"
    "net"
    "os"
    "runtime"
    "strconv"
    "strings"
    "sync"
    "time"
)

const (
    yields   = 1000000
    spawns   = 500000
    batch    = 100
    cold     = 10000
    items    = 1000000
    threads  = 4
    posts    = 200000
    echoSize = 65536
)

var now struct {
    name      string
    parameter int
}

func result(part string, unit string, value float64) {
    name := now.name
    if part != "" {
        name += "-" + part
    }
    fmt.Printf("%s\tGo\t%d\t%s\t%.6g\n", name, now.parameter, unit, value)
}

func each(part string, start time.Time, n int) {
    result(part, "ns", float64(time.Since(start).Nanoseconds())/float64(n))
}

func memory(name string) float64 {
    text, _ := os.ReadFile("/proc/self/status")
    for _, line := range strings.Split(string(text), "\n") {
        if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
            kib, _ := strconv.Atoi(fields[1])
            return float64(kib) * 1024
        }
    }
    return 0
}

func runYield(tasks int) {
    var all sync.WaitGroup
    times := yields / tasks
    all.Add(tasks)
    start := time.Now()
    for i := 0; i < tasks; i++ {
        go func() {
            for i := 0; i < times; i++ {
                runtime.Gosched()
            }
            all.Done()
        }()
    }
    all.Wait()
    each("", start, times*tasks)
}

func spawn(n int) {
    var all sync.WaitGroup
    all.Add(n)
    for i := 0; i < n; i++ {
        go all.Done()
    }
    all.Wait()
}

func runSpawn(int) {
    spawn(batch)
    start := time.Now()
    for done := 0; done < spawns; done += batch {
        spawn(batch)
    }
    each("", start, spawns)
}

func runSpawnCold(int) {
    start := time.Now()
    spawn(cold)
    each("", start, cold)
}

func runAwait(int) {
    start := time.Now()
    done := make(chan int)
    for i := 0; i < spawns; i++ {
        go func() { done <- 1 }()
        <-done
    }
    each("", start, spawns)
}

func runParked(n int) {
    var all, ready sync.WaitGroup
    wake := make(chan int)
    rss, tables := memory("VmRSS"), memory("VmPTE")
    all.Add(n)
    ready.Add(n)
    start := time.Now()
    for i := 0; i < n; i++ {
        go func() {
            ready.Done()
            <-wake
            all.Done()
        }()
    }
    ready.Wait()
    each("start", start, n)
    result("memory", "bytes", (memory("VmRSS")-rss)/float64(n))
    result("tables", "bytes", (memory("VmPTE")-tables)/float64(n))
    start = time.Now()
    close(wake)
    all.Wait()
    each("wake", start, n)
}

func runRendezvous(int) {
    items := items
    channel := make(chan int)
    go func() {
        for i := 0; i < items; i++ {
            channel <- i
        }
    }()
    start := time.Now()
    for i := 0; i < items; i++ {
        if <-channel != i {
            os.Exit(1)
        }
    }
    each("", start, items)
}

func runLock(int) {
    var mutex sync.Mutex
    start := time.Now()
    for i := 0; i < items; i++ {
        mutex.Lock()
        mutex.Unlock()
    }
    each("", start, items)
}

func runMutex(tasks int) {
    var mutex sync.Mutex
    var all sync.WaitGroup
    times := items / tasks
    all.Add(tasks)
    start := time.Now()
    for i := 0; i < tasks; i++ {
        go func() {
            for i := 0; i < times; i++ {
                mutex.Lock()
                runtime.Gosched()
                mutex.Unlock()
            }
            all.Done()
        }()
    }
    all.Wait()
    each("", start, times*tasks)
}

// The nearest there is, on one core like the rest: goroutines send functions to the one that calls them.
func runPost(int) {
    calls := make(chan func(), 1024)
    arrived := 0
    start := time.Now()
    for i := 0; i < threads; i++ {
        go func() {
            for i := 0; i < posts; i++ {
                calls <- func() { arrived++ }
            }
        }()
    }
    for arrived < threads*posts {
        (<-calls)()
    }
    each("", start, threads*posts)
}

func echo(connection net.Conn, end chan int) {
    data := make([]byte, echoSize)
    for {
        n, err := connection.Read(data)
        if err == nil {
            _, err = connection.Write(data[:n])
        }
        if err != nil {
            break
        }
    }
    connection.Close()
    end <- -1
}

func runEcho(port int) {
    change := make(chan int)
    listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
    if err != nil {
        os.Exit(1)
    }
    go func() {
        for alive := <-change; alive > 0; {
            alive += <-change
        }
        os.Exit(0)
    }()
    for {
        connection, err := listener.Accept()
        if err != nil {
            os.Exit(1)
        }
        change <- 1
        go echo(connection, change)
    }
}

var works = map[string]func(parameter int){
    "yield":      runYield,
    "spawn":      runSpawn,
    "spawn-cold": runSpawnCold,
    "await":      runAwait,
    "parked":     runParked,
    "rendezvous": runRendezvous,
    "lock":       runLock,
    "mutex":      runMutex,
    "post":       runPost,
    "echo":       runEcho,
}

func main() {
    runtime.GOMAXPROCS(1)
    now.name = os.Args[1]
    now.parameter, _ = strconv.Atoi(os.Args[2])
    if run, known := works[now.name]; known {
        run(now.parameter)
    }
}
